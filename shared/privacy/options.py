"""What a job may promise to the patients: `[privacy]`."""

from typing import Literal, Self

from pydantic import Field, model_validator

from shared.table import Table, later_key

LARGEST_DELTA = 1e-3
"""A delta of one over the patients allows that one of them is published whole."""

_BOTH = {"epsilon", "noise_multiplier", "delta"}  # keys of [privacy] by the mechanisms that have them
_DP_SGD = {"max_grad_norm", "unit", "images_per_patient", "mean_over", "noise", "honest_sites"}
_SITE_LEVEL = {"max_update_norm", "adaptive_clipping"}


class PrivacyTable(Table):
    """`[privacy]`: what is promised to the patients, and how it is kept."""

    mechanism: Literal["none", "dp-sgd", "site-level"] = Field(
        "none",
        description="'dp-sgd': the sites train with differential privacy (Abadi et al. 2016), and what they "
        "send is private at epsilon and delta. 'site-level': the coordinator clips each site's update and "
        "adds noise to the mean, which hides a site from whoever gets the model, not from the coordinator.",
    )
    epsilon: float | None = Field(
        None,
        gt=0,
        examples=[8.0],
        description="What a site's patients (site-level: each site) are to lose at most over all rounds; the "
        "noise is found from it.",
    )
    noise_multiplier: float | None = Field(
        None,
        gt=0,
        examples=[1.1],
        description="Standard deviation of the noise over max_grad_norm (site-level: over the norm of a "
        "site's update), instead of epsilon.",
    )
    delta: float = Field(
        1e-5,
        gt=0,
        le=LARGEST_DELTA,
        description="The delta of epsilon; far below one over the patients. A site refuses a job whose delta "
        "is not below one over its patients, their number rounded up to a power of ten.",
    )
    max_grad_norm: float = Field(
        1.0, gt=0, description="dp-sgd: L2 norm to which the gradient of each unit is clipped."
    )
    unit: Literal["patient", "image"] = Field(
        "patient",
        description="dp-sgd: whom the guarantee is for: a patient with all their images, or a single image.",
    )
    images_per_patient: int = Field(
        1,
        ge=1,
        description="dp-sgd, unit 'patient': images, drawn at random, over which a patient's gradient is the "
        "mean.",
    )
    mean_over: Literal["sites", "patients"] = later_key(
        "sites",
        description="dp-sgd: 'sites': each site divides its noisy sum by the units that it expects in a "
        "step, so that sites count alike and a small one's noise is large. 'patients': all divide by "
        "batch_size, so that units count alike, and a small site's noise is no larger than another's.",
    )
    noise: Literal["local", "distributed"] = Field(
        "local",
        description="dp-sgd: 'local': each site's update has all the noise; 'distributed': a share of it, so "
        "that the sum has all of it. Needs secure_aggregation, honest_sites and local_steps = 1.",
    )
    honest_sites: int | None = Field(
        None,
        ge=2,
        examples=[3],
        description="dp-sgd, noise 'distributed': sites in the sum that add their share and tell nobody. "
        "With fewer the guarantee is weaker.",
    )
    max_update_norm: float = Field(
        1.0,
        gt=0,
        description="site-level: L2 norm to which each site's update is clipped; the first norm "
        "with adaptive_clipping.",
    )
    adaptive_clipping: bool = Field(
        False,
        description="site-level: the norm follows the median of the updates' norms (Andrew et al. 2021), "
        "whose count is noised and paid for.",
    )
    secure_aggregation: bool = Field(
        False,
        description="The coordinator learns the sums of updates and metrics and nothing of a single site's "
        "(docs/secure-aggregation.md). Needs min_sites = 3 or more.",
    )
    verifiable_sum: bool = later_key(
        False,
        description="Each site signs a hash of what it adds to a round's sum, and the run keeps the sums: "
        "whoever has both can check that a sum is of what was signed, and see no part of it. Needs "
        "secure_aggregation.",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        of_mechanism = {"none": set(), "dp-sgd": _BOTH | _DP_SGD, "site-level": _BOTH | _SITE_LEVEL}
        fields = type(self).model_fields
        given = self.model_fields_set & (_BOTH | _DP_SGD | _SITE_LEVEL)
        changed = {key for key in given if getattr(self, key) != fields[key].default}
        if given and "mechanism" not in self.model_fields_set:
            changed = given
        for key in sorted(changed - of_mechanism[self.mechanism]):
            names = [f"'{name}'" for name, keys in of_mechanism.items() if key in keys]
            raise ValueError(
                f"{key}: needs mechanism = {' or '.join(names)}"
                + (", or nothing is private" if self.mechanism == "none" else "")
            )
        if self.verifiable_sum and not self.secure_aggregation:
            raise ValueError("verifiable_sum: needs secure_aggregation = true; otherwise there is no sum")
        if self.mechanism == "none":
            return self
        if (self.epsilon is None) == (self.noise_multiplier is None):
            raise ValueError(f"epsilon: give either epsilon or noise_multiplier with '{self.mechanism}'")
        if self.unit == "image" and self.images_per_patient != 1:
            raise ValueError("images_per_patient: is for unit = 'patient'")
        if (self.noise == "distributed") != (self.honest_sites is not None):
            raise ValueError("honest_sites: is needed with noise = 'distributed', and only there")
        return self
