"""The types a model file may hold: what keepfit's own pipelines are made of, and nothing else.

Each was read before it was listed. Loading calls no constructor of theirs with arguments from the
file but arrays, numbers and text, and none of them runs a function named in its state. A new
candidate adds its types here, and ``tests/unit/models`` fails until it does.
"""

from __future__ import annotations

_PLAIN = (
    "builtins.NoneType", "builtins.bool", "builtins.bytes", "builtins.dict", "builtins.float",
    "builtins.int", "builtins.list", "builtins.set", "builtins.slice", "builtins.str",
    "builtins.tuple", "collections.OrderedDict", "collections.defaultdict",
)  # fmt: skip

_NUMPY = (
    "numpy.bool", "numpy.dtype", "numpy.float32", "numpy.float64", "numpy.int32", "numpy.int64",
    "numpy.int8", "numpy.ndarray", "numpy.random.mtrand.RandomState", "numpy.str_", "numpy.uint32",
)  # fmt: skip

_SKLEARN = (
    "sklearn.calibration.CalibratedClassifierCV",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.compose._column_transformer.ColumnTransformer",
    "sklearn.compose._target.TransformedTargetRegressor",
    "sklearn.decomposition._truncated_svd.TruncatedSVD",
    "sklearn.dummy.DummyClassifier",
    "sklearn.dummy.DummyRegressor",
    "sklearn.ensemble._forest.RandomForestClassifier",
    "sklearn.ensemble._forest.RandomForestRegressor",
    "sklearn.feature_extraction.text.TfidfTransformer",
    "sklearn.feature_extraction.text.TfidfVectorizer",
    "sklearn.kernel_approximation.Nystroem",
    "sklearn.linear_model._logistic.LogisticRegression",
    "sklearn.linear_model._ridge.Ridge",
    "sklearn.linear_model._ridge.RidgeCV",
    "sklearn.model_selection._split.KFold",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.model_selection._split.StratifiedShuffleSplit",
    "sklearn.pipeline.Pipeline",
    "sklearn.preprocessing._data.StandardScaler",
    "sklearn.preprocessing._encoders.OneHotEncoder",
    "sklearn.preprocessing._label.LabelBinarizer",
    "sklearn.preprocessing._label.LabelEncoder",
    "sklearn.preprocessing._target_encoder.TargetEncoder",
    "sklearn.svm._classes.LinearSVC",
    "sklearn.svm._classes.LinearSVR",
    "sklearn.svm._classes.SVC",
    "sklearn.svm._classes.SVR",
    "sklearn.tree._classes.DecisionTreeClassifier",
    "sklearn.tree._classes.DecisionTreeRegressor",
    "sklearn.tree._tree.Tree",
)

_OTHERS = (
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMClassifier",
    "lightgbm.sklearn.LGBMRanker",
    "lightgbm.sklearn.LGBMRegressor",
    "tasks.models.postprocessing.adjusted_classifier.AdjustedClassifier",
    "tasks.models.features.columns.CategoryCodes",
    "tasks.models.features.columns.Numbers",
    "tasks.models.features.datetime_features.DateParts",
    "tasks.models.ensemble.weighted_ensemble.EnsembleClassifier",
    "tasks.models.ensemble.weighted_ensemble.EnsembleRegressor",
    "tasks.models.ensemble.weighted_ensemble.SameColumns",
    "tasks.models.estimators.early_stopping_mlp.EarlyMLPClassifier",
    "tasks.models.estimators.early_stopping_mlp.EarlyMLPRegressor",
    "tasks.models.estimators.popularity.Popularity",
    "tasks.models.features.preprocessing.FeatureEncoder",
    "tasks.models.features.scaling.Scale",
    "tasks.models.features.text_features.TextTopics",
)

ALLOWED_TYPES = frozenset((*_PLAIN, *_NUMPY, *_SKLEARN, *_OTHERS))

ALLOWED_LOADERS = frozenset((
    "DTypeNode", "DefaultDictNode", "DictNode", "JsonNode", "ListNode", "NdArrayNode",
    "ObjectNode", "RandomStateNode", "SetNode", "SliceNode", "SparseMatrixNode", "TreeNode",
    "TupleNode", "TypeNode",
))  # fmt: skip
"""Ways in which skops may rebuild them: none calls a function or a method named in the file."""


FORMER_MODULES = {
    "tasks.models.calibrating": "tasks.models.postprocessing.adjusted_classifier",
    "tasks.models.columns": "tasks.models.features.columns",
    "tasks.models.dates": "tasks.models.features.datetime_features",
    "tasks.models.ensembling": "tasks.models.ensemble.weighted_ensemble",
    "tasks.models.estimators": "tasks.models.estimators.early_stopping_mlp",
    "tasks.models.popularity": "tasks.models.estimators.popularity",
    "tasks.models.postprocessing.calibration": "tasks.models.postprocessing.adjusted_classifier",
    "tasks.models.preprocessing": "tasks.models.features.preprocessing",
    "tasks.models.scaling": "tasks.models.features.scaling",
    "tasks.models.texts": "tasks.models.features.text_features",
}
"""Name in a file to today's name; entries are added when a class moves, and never removed."""
