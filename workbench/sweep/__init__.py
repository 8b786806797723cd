"""Many configurations on one market: a columnar grid in, METHOD's numbers for every row of it out."""
