"""The wire between a supervisor and its runners, and nothing that knows either of them."""
