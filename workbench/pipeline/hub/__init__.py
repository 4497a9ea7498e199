"""The hub: data sets come from there, and Releases go there, by workers alone and to allowed hosts alone.

`hosts` decides where a request may go, `client` is the hub's own client behind that check, `fetching` and
`pushing` are Runs."""
