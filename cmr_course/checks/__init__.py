"""Property checks for the exercises: each takes a reader's function, tries it on random inputs and says what is wrong.

A check prints one line and returns nothing when the function has the property, and raises :class:`CheckError` with one
sentence when it has not. It compares with what must be true of any right answer, never with a stored output, and it
does not show the answer. A blank (`NotImplementedError`) passes through, so that its hint is seen.
"""

from __future__ import annotations

from cmr_course.checks.asking import CheckError
from cmr_course.checks.coil import check_combination, check_noise_estimate, check_sense_unfold
from cmr_course.checks.consistency import check_best_trust, check_consistent_samples, check_unseen_part
from cmr_course.checks.contrasts import check_nulling_time, check_velocity
from cmr_course.checks.detail import check_high_pass, check_norm_growth, check_patch_variance
from cmr_course.checks.files import check_mask_axes, check_phase_axis, check_subject_split
from cmr_course.checks.heart import check_ejection_fraction, check_flip_angle, check_volume
from cmr_course.checks.linear import check_adjoint, check_conjugate_gradient, check_unitary
from cmr_course.checks.lines import check_point_spread, check_realised_acceleration, check_sampling_mask
from cmr_course.checks.losses import check_edge_share, check_is_affine, check_safest_image
from cmr_course.checks.networks import check_best_step, check_moving_mean, check_reach
from cmr_course.checks.priors import (
    check_lent_samples,
    check_shrink_rank,
    check_soft_threshold,
    check_stopping_rule,
)
from cmr_course.checks.prompts import check_maps_agree, check_neighbours, check_prompt_mixture
from cmr_course.checks.quality import (
    check_psnr,
    check_reference_finder,
    check_sees_gain,
    check_subjects_needed,
)
from cmr_course.checks.recurrence import check_both_ways, check_crnn_parameters, check_sweep
from cmr_course.checks.remembering import check_bank_parameters, check_daggers, check_fuse
from cmr_course.checks.spectrum import check_centred_fourier, check_low_pass

__all__ = [
    "CheckError",
    "check_adjoint",
    "check_bank_parameters",
    "check_best_step",
    "check_best_trust",
    "check_both_ways",
    "check_centred_fourier",
    "check_combination",
    "check_conjugate_gradient",
    "check_consistent_samples",
    "check_crnn_parameters",
    "check_daggers",
    "check_edge_share",
    "check_ejection_fraction",
    "check_flip_angle",
    "check_fuse",
    "check_high_pass",
    "check_is_affine",
    "check_lent_samples",
    "check_low_pass",
    "check_maps_agree",
    "check_mask_axes",
    "check_moving_mean",
    "check_neighbours",
    "check_noise_estimate",
    "check_norm_growth",
    "check_nulling_time",
    "check_patch_variance",
    "check_phase_axis",
    "check_point_spread",
    "check_prompt_mixture",
    "check_psnr",
    "check_reach",
    "check_realised_acceleration",
    "check_reference_finder",
    "check_safest_image",
    "check_sampling_mask",
    "check_sees_gain",
    "check_sense_unfold",
    "check_shrink_rank",
    "check_soft_threshold",
    "check_stopping_rule",
    "check_subject_split",
    "check_subjects_needed",
    "check_sweep",
    "check_unitary",
    "check_unseen_part",
    "check_velocity",
    "check_volume",
]
