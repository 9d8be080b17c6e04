"""What stands in the way of a run on this machine: one module an area, `checks` lists all."""
