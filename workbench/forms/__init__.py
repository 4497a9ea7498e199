"""Forms, one module for each module of views."""
