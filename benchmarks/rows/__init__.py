"""What is measured: one file for rows that share their rounds."""
