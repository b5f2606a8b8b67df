"""The report of a comparison.

results   what a report says, as types, and the file they are kept in; numbers: those of its parts
verdict   whether each soft variant helped
advice    what to use, in a few sentences
text      numbers and settings as a reader sees them
tables    the tables, cell by cell
rows      which rows figures show: of the values of a grid the best on validation
figures   which numbers go into which plot, and the words beside it; grids, costs, slices the same
plots     the drawing: intervals, curves, bars; charts: values over settings, cost
looks     colours, dashes and markers, and the lines of a legend
document  all words and tables, for markdown and latex
write     the HTML file, and the table for the terminal; templates fills all HTML pages
"""

from softrec.report.results import Results, read_results, write_results
from softrec.report.verdict import Verdict, verdicts

__all__ = ["Results", "Verdict", "read_results", "verdicts", "write_results"]
