"""Do two samples of vectors come from the same distribution? A classifier two-sample test with exact permutations.

Lopez-Paz and Oquab, Revisiting Classifier Two-Sample Tests, ICLR 2017; on which tests find drift: Rabanser et al.,
Failing Loudly, NeurIPS 2019. A classifier is trained to tell the samples apart. If it does so on rows that it was not
trained on, the samples differ. N is the number of rows of both samples together, D the size of a vector, P the number
of permutations.
"""

from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from stages.evaluation.intervals import find_ends
from stages.evaluation.ranking import rank_scores, score_ranking
from stages.evaluation.row_resamples import draw_weights

FOLDS = 5
# Different texts that a sample needs. Between 50 rows and very many, the AUC of equal samples has a standard deviation
# of 0.04 (Mann and Whitney 1947): with fewer rows only a gross difference would be found, and silence would say little.
FEWEST_TEXTS = 50
# Of the ridge regression, as a multiple of the number of features, which are standardized. Seven values from 0.01 to
# 100 were tried on reviews of restaurants among those of films (5 to 30 % of 50 to 400 rows, 60 resamples each): 10
# found more than all lower ones in each of the five cases, at times by less than chance explains. 100 found more in
# three and less in two. It comes close to comparing the means alone, and other differences were not tried: so 10.
PENALTY = 10.0


class TwoSampleTest(NamedTuple):
    """How well a classifier tells two samples apart; 0.5 is chance, 1 is without a mistake."""

    auc: float  # area under the ROC curve: of two rows, one of each sample, how often the new one has the higher score
    low: float  # 95 % interval of the AUC, by the bootstrap over rows
    high: float
    p_value: float  # how often equal samples would give such an AUC or a higher one
    scores: np.ndarray  # of all rows by classifiers that were not trained on them, `(N,)`; high: as in the new sample


def compare_samples(
    features: np.ndarray, is_new: np.ndarray, groups: np.ndarray, permutations: int, seed: int
) -> TwoSampleTest:
    """Compare the rows of `features`, `(N, D)`, that are new with the others; `is_new` is bool `(N,)`.

    Rows of one group, `(N,)`, such as equal texts, are scored by the same classifier: one that was trained on a text
    would know its copies.

    The p-value is exact: each permutation of `is_new` trains and scores its own classifiers, in the same folds. To
    permute what is known of held-out rows alone would not be valid with several folds, since each row is also among the
    training rows of other folds. It is quick because the classifier is a ridge regression on 0 and 1, which solves the
    permutations together; its direction is that of linear discriminant analysis. 4,000 rows of 384 numbers with 500
    permutations take some seconds on a core.
    """
    generator = np.random.default_rng(seed)
    folds = make_folds(groups, generator)
    labels = permute_within(is_new, folds, permutations, generator)
    scaled = StandardScaler().fit_transform(features.astype(np.float64))
    scores, aucs = np.empty(len(is_new)), []
    for fold in range(FOLDS):
        held_out = folds == fold
        classifiers = Ridge(PENALTY * scaled.shape[1]).fit(scaled[~held_out], labels[~held_out])
        found = classifiers.predict(scaled[held_out])
        scores[held_out] = found[:, 0]
        aucs.append(compute_aucs(found, labels[held_out]))
    means = np.nanmean(aucs, axis=0)
    low, high = find_interval(scores, is_new, folds, generator)
    # The given order is one of the permutations (Phipson and Smyth 2010); rounding must not make equal ones unequal.
    p_value = float(np.count_nonzero(means >= means[0] - 1e-12) / len(means))
    return TwoSampleTest(float(means[0]), low, high, p_value, scores)


def make_folds(groups: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The fold of each row, `(N,)`, which is that of its group. It must not depend on which rows are new."""
    names, numbers = np.unique(groups, return_inverse=True)
    return (generator.permutation(len(names)) % FOLDS)[numbers]


def permute_within(
    is_new: np.ndarray, folds: np.ndarray, permutations: int, generator: np.random.Generator
) -> np.ndarray:
    """`is_new` and its permutations within the folds as 0 and 1, `(N, 1 + P)`; so each fold keeps its share."""
    labels = np.repeat(is_new[:, None].astype(np.float64), 1 + permutations, axis=1)
    for fold in range(FOLDS):
        rows = np.flatnonzero(folds == fold)
        labels[rows, 1:] = generator.permuted(labels[rows, 1:], axis=0)
    return labels


def compute_aucs(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The AUC of each column, `(1 + P,)`, of scores and of labels 0 and 1, both `(N, 1 + P)`; NaN without both labels.

    Each column has as many ones.
    """
    members = labels[:, 0].sum()
    pairs = members * (len(labels) - members)
    if not pairs:
        return np.full(labels.shape[1], np.nan)
    return ((rankdata(scores, axis=0) * labels).sum(axis=0) - members * (members + 1) / 2) / pairs


def find_interval(
    scores: np.ndarray, is_new: np.ndarray, folds: np.ndarray, generator: np.random.Generator
) -> tuple[float, float]:
    """The ends of the middle 95 % of the mean AUCs of the folds, whose rows are resampled."""
    aucs = []
    for fold in range(FOLDS):
        rows = folds == fold
        if len(set(is_new[rows])) < 2:
            continue
        ranking = rank_scores(scores[rows], is_new[rows])
        parts = draw_weights(int(rows.sum()), 1, generator)
        aucs.append(np.concatenate([score_ranking(ranking, weights)[0] for weights in parts]))
    low, high = find_ends(np.nanmean(aucs, axis=0))
    return float(low), float(high)
