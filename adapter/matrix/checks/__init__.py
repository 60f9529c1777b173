"""What `doctor` looks for, a room for each concern. Pure: a look in, findings out."""
