"""Which source writes the better answers, and more pairs of what sources wrote.

`bradley_terry` computes strengths on arrays and knows no database; `board` makes the board of a Dataset, a
part of the stored report; `panel` says the board in words, tables and a chart."""
