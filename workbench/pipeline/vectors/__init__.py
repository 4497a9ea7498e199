"""Vectors of the texts of a Dataset, by which similar texts are found and topics are built.

`store` keeps them in files that processes map; `run` has workers compute the missing ones; `similar` ranks
the texts that are like a given one. docs/explanation/scale.md has figures."""
