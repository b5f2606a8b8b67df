"""The report of a comparison.

results   what a report says, as types, and the file they are kept in
verdict   whether each soft variant helped
text      numbers and settings as a reader sees them
tables    the tables, cell by cell
figures   which numbers go into which plot, and the words beside it
plots     the drawing
write     the HTML file, and the table for the terminal
"""

from softrec.report.results import Results, read_results, write_results
from softrec.report.verdict import Verdict, verdicts

__all__ = ["Results", "Verdict", "read_results", "verdicts", "write_results"]
