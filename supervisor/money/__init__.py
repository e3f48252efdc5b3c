"""What was spent, and what may still be."""
