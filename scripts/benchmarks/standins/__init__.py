"""Programs that stand in for runners: the runner's own wire and journal, with something else behind them."""
