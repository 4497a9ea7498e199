"""Topics: clusters of the vectors of a Dataset's Prompts, named by their words, with figures for each.

`run` computes them, `naming` finds their names, `placing` puts new Prompts into them, and `figures` measures
the model and people in each."""
