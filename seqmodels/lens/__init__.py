"""The lens: measurements inside a trained model.

Hidden states over time and their principal components, gradients over distance in time, the eigenvalues of the
recurrent weights, and the share of saturated units. The pictures are in `seqmodels.report.lens`.
"""

from seqmodels.lens.look import Known, Lens, known_of, look

__all__ = ["Known", "Lens", "known_of", "look"]
