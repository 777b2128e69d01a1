"""What `msinet` can do. Heavy imports happen inside the functions, so that `--help` is immediate."""
