"""Data in: the sentiment table and the prices, read, checked and simulated."""
