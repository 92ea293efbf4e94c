"""The mathematics of Charloom: networks, training and sampling on numpy. No files, network, clock, database or globals."""
