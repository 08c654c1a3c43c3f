"""Proofs about models: Lipschitz constants and certified radii, and attacks that test both.

`lipviz.certify` and `lipviz.certified_radius` are defined here. The rules for each kind of layer are in `lipviz.rules`.
"""

from lipviz import _moved
from lipviz.certification import matrices  # noqa: F401 - registers its rules
from lipviz.certification.arithmetic import Arithmetic
from lipviz.certification.attacks import Attack, attack
from lipviz.certification.certificate import Certificate
from lipviz.certification.classifiers import logits_model, pairwise_bounds
from lipviz.certification.provenance import CertificateCheck
from lipviz.certification.radii import certified_accuracy, certified_radius, logit_errors
from lipviz.certification.ratios import RatioAscent, SecantRatios, gradient_ascent_ratio, secant_ratios
from lipviz.certification.results import CertifiedAccuracy, CertifiedRadii, LayerBound, StretchBound
from lipviz.certification.upper_bounds import certify, certify_file

__all__ = [
    "Arithmetic",
    "Attack",
    "Certificate",
    "CertificateCheck",
    "CertifiedAccuracy",
    "CertifiedRadii",
    "LayerBound",
    "RatioAscent",
    "SecantRatios",
    "StretchBound",
    "attack",
    "certified_accuracy",
    "certified_radius",
    "certify",
    "certify_file",
    "gradient_ascent_ratio",
    "logit_errors",
    "logits_model",
    "pairwise_bounds",
    "secant_ratios",
]


def __getattr__(name):
    return _moved.name_of(__name__, name)
