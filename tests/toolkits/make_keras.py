"""Write small Keras models into a folder: `python make_keras.py <2 or 3> <folder>`."""

import os
import sys
from pathlib import Path

legacy = sys.argv[1] == "2"
folder = Path(sys.argv[2])
if legacy:
    os.environ["TF_USE_LEGACY_KERAS"] = "1"

import tensorflow as tf  # noqa: E402

keras = tf.keras
layers = keras.layers
keras.utils.set_random_seed(0)


def network():
    """Convolution, depthwise, residual, dense; two inputs and two outputs of different ranks."""
    image = keras.Input((16, 16, 3), name="image")
    extra = keras.Input((7,), name="extra")
    first = layers.Conv2D(8, 3, 2, "same", activation="relu")(image)
    second = layers.DepthwiseConv2D(3, padding="same")(first)
    second = layers.Conv2D(8, 1)(second)
    second = layers.BatchNormalization(beta_initializer="random_normal")(second)
    second = layers.ReLU(6.0)(second)
    both = layers.Add(name="map")([first, second])
    pooled = layers.Concatenate()([layers.GlobalAveragePooling2D()(both), extra])
    return keras.Model([image, extra], [layers.Dense(5, "softmax", name="probs")(pooled), both])


def export(model, name):
    path = str(folder / name)
    model.save(path) if legacy else model.export(path, verbose=False)


model = network()
model.save(folder / "net.keras")
model.save(folder / "net.h5")
export(model, "net_saved")
model.save_weights(folder / "only.weights.h5")

for name, unroll in {"series.keras": False, "unrolled.keras": True}.items():
    recurrent = layers.LSTM(6, unroll=unroll)
    steps = keras.Sequential([keras.Input((10, 4), name="series"), recurrent, layers.Dense(3)])
    steps.save(folder / name)

code = keras.Sequential([keras.Input((4,)), layers.Lambda(lambda x: x * 2)])
code.save(folder / "code.keras")
code.save(folder / "code.h5")


@keras.utils.register_keras_serializable("ours")
class Twice(layers.Layer):
    def call(self, values):
        return values * 2


own = keras.Sequential([keras.Input((4,), name="values"), Twice(), layers.Dense(2)])
own.save(folder / "own.keras")
export(own, "own_saved")


def signature(function):
    return tf.function(function, input_signature=[tf.TensorSpec([1, 4], name="values")])


def twice(values):
    return {"result": values * 2.0}


def inverse(values):
    return {"result": tf.linalg.inv(tf.matmul(values, values, transpose_a=True) + tf.eye(4))}


def files(values):
    tf.io.write_file("/nowhere/written", "by the model")
    return {"result": values}


for name, functions in {
    "two_saved": {"first": twice, "second": twice},
    "inverse_saved": {"serving_default": inverse},
    "files_saved": {"serving_default": files},
    "none_saved": {},
}.items():
    signatures = {key: signature(function) for key, function in functions.items()}
    tf.saved_model.save(tf.Module(), str(folder / name), signatures=signatures or None)
