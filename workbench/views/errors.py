"""What is answered where an error ends a request."""
