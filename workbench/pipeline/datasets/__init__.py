"""Archive, clone and delete a Dataset."""
