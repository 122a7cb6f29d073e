"""The passport of a model: what each site signs about its part in a run, and the coordinator about all."""
