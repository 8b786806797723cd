"""Results out: tables, figures, the notebook run and the HTML report."""
