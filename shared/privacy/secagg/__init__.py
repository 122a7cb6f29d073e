"""Secure aggregation: the coordinator learns the sum of the updates and nothing of a single one.

The protocol is that of Bonawitz et al., "Practical Secure Aggregation for Privacy-Preserving Machine
Learning" (CCS 2017, figure 4, with the parts for an active adversary), with a sparse graph of masks above 17
sites as in Bell et al., "Secure Single-Server Aggregation with (Poly)Logarithmic Overhead" (CCS 2020). See
docs/secure-aggregation.md for the stages, the threat model and what is not protected.

`SecAggClient` and `SecAggServer` are state machines without input or output; the rest are their parts.
"""
