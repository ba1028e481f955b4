"""Keras files and SavedModels that would act on the machine, and ones that look alike and do not:
`python make_hostile_keras.py <2 or 3> <folder> <victim>`. The victim is the file to write to."""

import json
import os
import sys
from pathlib import Path

legacy = sys.argv[1] == "2"
folder, victim = Path(sys.argv[2]), sys.argv[3]
if legacy:
    os.environ["TF_USE_LEGACY_KERAS"] = "1"

import h5py  # noqa: E402
import tensorflow as tf  # noqa: E402

keras = tf.keras
layers = keras.layers
keras.utils.set_random_seed(0)


def honest_2():
    """What functional models of Keras 2 hold: operators of TensorFlow between layers."""
    image = keras.Input((8, 8, 3), name="image")
    scaled = tf.cast(image, tf.float32) / 127.5 - 1.0
    scaled = tf.image.resize(scaled, (4, 4))
    low, high = tf.split(scaled, 2, axis=1)
    both = tf.concat([low, high], axis=-1)[:, :, 1:, :]
    both = tf.pad(tf.transpose(both, (0, 2, 1, 3)), [[0, 0], [1, 1], [0, 0], [0, 0]])
    both = tf.nn.relu(tf.clip_by_value(tf.reshape(both, (-1, 60)), -1.0, 1.0))
    both = tf.math.reduce_mean(tf.stack([both, tf.square(both)], axis=1), axis=1)
    return keras.Model(image, layers.Dense(3)(tf.squeeze(tf.expand_dims(both, 1), 1)))


def honest_3():
    """Preprocessing, convolution, attention, normalization, recurrence, keras.ops between."""
    image = keras.Input((12, 12, 3), name="image")
    found = layers.Resizing(8, 8)(image)
    found = layers.Rescaling(1 / 127.5, -1.0)(found)
    found = layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0])(found)
    found = layers.Conv2D(8, 3, 2, "same", activation="gelu")(found)
    found = layers.LayerNormalization()(layers.Reshape((16, 8))(found))
    found = found + layers.MultiHeadAttention(2, 4)(found, found)
    found = layers.TimeDistributed(layers.Dense(6, activation=keras.activations.silu))(found)
    found = layers.Bidirectional(layers.LSTM(4, unroll=True))(found)
    inner = keras.Sequential([keras.Input((8,)), layers.Dense(5, kernel_regularizer="l2")])
    inner.compile(loss="mse", optimizer="adam")
    found = keras.ops.maximum(inner(found), 0.1) * 2.0
    return keras.Model(image, layers.Dense(3, "softmax", kernel_constraint="non_neg")(found))


def with_function(file, function, *inputs):
    """A file whose operator layer calls another function: only the configuration is changed."""
    model.save(folder / file)
    with h5py.File(folder / file, "r+") as stored:
        config = json.loads(stored.attrs["model_config"])
        layer = next(x for x in config["config"]["layers"] if x["class_name"] == "TFOpLambda")
        layer["config"]["function"] = function
        layer["inbound_nodes"] = [list(inputs)]
        stored.attrs["model_config"] = json.dumps(config)


(honest_2() if legacy else honest_3()).save(folder / ("honest.h5" if legacy else "honest.keras"))
if legacy:
    image = keras.Input((4,), name="image")
    model = keras.Model(image, tf.math.add(image, 1.0))
    with_function("print.h5", "print", "image", 0, 0, {"output_stream": f"file://{victim}"})
    fetched = {"origin": Path(victim).as_uri(), "cache_dir": str(folder), "cache_subdir": ""}
    constant = ("_CONSTANT_VALUE", -1, "fetched")
    with_function("download.h5", "keras.utils.get_file", *constant, fetched)
    with_function("write.h5", "io.write_file", "_CONSTANT_VALUE", -1, victim, {"contents": "x"})
    model.save(folder / "outside.h5")
    with h5py.File(folder / "outside.h5", "r+") as stored:
        del stored["model_weights"]
        stored["model_weights"] = h5py.ExternalLink(victim, "/")
    raise SystemExit


def signature(function):
    return tf.function(function, input_signature=[tf.TensorSpec([1, 4], name="values")])


def saved(name, function, module=None):
    tf.saved_model.save(
        module or tf.Module(), str(folder / name), signatures={"serving_default": function}
    )


@signature
def twice(values):
    return {"result": values * 2.0}


@signature
def prints(values):
    tf.print(values, output_stream=f"file://{victim}")
    return {"result": values}


@signature
def saves(values):
    tf.raw_ops.SaveV2(prefix=victim, tensor_names=["a"], shape_and_slices=[""], tensors=[values])
    return {"result": values}


@signature
def reads(values):
    return {"result": values + tf.cast(tf.strings.length(tf.io.read_file(victim)), tf.float32)}


@signature
def conditional(values):
    def act():
        tf.io.write_file(victim, "by a branch")
        return values

    return {"result": tf.cond(tf.reduce_sum(values) > 0, act, lambda: values)}


class Table(tf.Module):
    """Loading it makes and fills a table by functions from the file."""

    def __init__(self):
        super().__init__()
        words = tf.lookup.TextFileInitializer(victim, tf.string, 0, tf.int64, 1, delimiter=" ")
        self.table = tf.lookup.StaticHashTable(words, -1)


saved("prints_saved", prints)
saved("saves_saved", saves)
saved("reads_saved", reads)
saved("branch_saved", conditional)
Path(victim).write_text("a 1\n")
saved("table_saved", twice, Table())
honest_3().export(str(folder / "honest_saved"), verbose=False)


def save_by_1(name, main):
    """As TensorFlow 1 did, with an operator that loading runs."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        values = tf.compat.v1.placeholder(tf.float32, [1, 4], "values")
        weights = tf.compat.v1.get_variable("weights", [4], use_resource=True)
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.saved_model.simple_save(
            session,
            str(folder / name),
            {"values": values},
            {"result": values * weights},
            legacy_init_op=main(),
        )


save_by_1("main_saved", lambda: tf.raw_ops.WriteFile(filename=victim, contents="by loading"))
save_by_1("honest_1_saved", tf.no_op)
