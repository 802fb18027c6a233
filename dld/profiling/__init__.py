"""What a depth costs: operations and time."""
