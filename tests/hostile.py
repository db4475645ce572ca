"""Run folders as a stranger could make them: each function changes a good one, and says what is to be complained about.

`CASES` maps a description to such a function. `python tests/hostile.py GOOD` opens a folder of each kind in a
process of its own and prints what came of it, with the seconds and the memory that it took. GOOD is a run folder. The
run as it was shared lies beside it, in a folder named shared, and the others are made there.
"""

import io
import json
import os
import pickle
import resource
import shutil
import sys
import time
import zipfile
from collections import OrderedDict
from pathlib import Path

import torch
import yaml

from seqmodels.files import sealed
from seqmodels.restore import load_run

CASES = {}


def case(complaint, file=None):
    """Register a case; with `file`, its function returns the new content of that file."""

    def register(function):
        def damage(folder):
            content = function(folder)
            if file is not None:
                (folder / file).write_bytes(content.encode() if isinstance(content, str) else content)

        CASES[function.__name__.replace("_", " ")] = (damage, complaint)
        return function

    return register


CONFIG, BEST, RESULT = "config.yaml", "checkpoints/best.ckpt", "result.json"


def untie(folder):
    """Remove the digests, as anyone can who changes the files."""
    (folder / RESULT).unlink()


def config_with(folder, **settings):
    untie(folder)
    config = yaml.safe_load((folder / CONFIG).read_text())
    config["model"] |= settings
    return yaml.safe_dump(config)


def checkpoint_with(folder, **changes):
    untie(folder)
    checkpoint = torch.load(folder / BEST, weights_only=True) | changes
    output = io.BytesIO()
    torch.save({name: value for name, value in checkpoint.items() if value is not None}, output)
    return output.getvalue()


class Call:
    """Pickled as a call of a function, to be made when it is loaded."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


class Numbers:
    """Pickled as a reference to a storage of the archive."""

    def __init__(self, length, key="0"):
        self.reference = "storage", torch.FloatStorage, key, "cpu", length


class Pickler(pickle.Pickler):
    def persistent_id(self, value):
        return value.reference if isinstance(value, Numbers) else None


def tensor(shape, strides, length):
    return Call(torch._utils._rebuild_tensor_v2, Numbers(length), 0, shape, strides, False, OrderedDict())


def archive(content, entries=(), compression=zipfile.ZIP_STORED):
    """A checkpoint with this content, pickled unless it is bytes, and these entries."""
    if not isinstance(content, bytes):
        output = io.BytesIO()
        Pickler(output, protocol=2).dump(content)
        content = output.getvalue()
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", compression) as file:
        file.writestr("archive/data.pkl", content)
        file.writestr("archive/version", "3\n")
        file.writestr("archive/byteorder", "little")
        for name, numbers in dict(entries).items():
            file.writestr(f"archive/data/{name}", numbers)
    return output.getvalue()


def whole(folder, weight, shape=None):
    """A checkpoint of the run's model with one weight replaced."""
    checkpoint = torch.load(folder / BEST, weights_only=True)
    weights = {name: weight if "weight_hh" in name else 0 for name in checkpoint["state_dict"]}
    return {"model_arguments": checkpoint["model_arguments"], "state_dict": weights}


# config.yaml


@case("should hold the settings of a run, got NoneType", CONFIG)
def an_empty_config(folder):
    untie(folder)
    return ""


@case("can't decode byte|is not plain YAML|special characters", CONFIG)
def a_config_of_random_bytes(folder):
    untie(folder)
    return bytes(range(256)) * 40


@case("is not plain YAML in line", CONFIG)
def a_config_cut_off_in_a_string(folder):
    untie(folder)
    return 'model:\n  _target_: "seqmodels.lay'


@case("should hold the settings of a run, got list", CONFIG)
def a_config_that_is_a_list(folder):
    untie(folder)
    return "[1, 2]"


@case("an alias, which no run writes", CONFIG)
def a_billion_laughs(folder):
    untie(folder)
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    return "\n".join([*lines, "model: *a11"])


@case("line 4: the key model occurs twice, which no run writes", CONFIG)
def a_config_with_two_models(folder):
    untie(folder)
    return "model:\n  _target_: torch.nn.RNN\n  hidden_size: 4\nmodel:\n  _target_: torch.nn.GRU\n"


@case("nested too deeply", CONFIG)
def a_config_nested_100000_deep(folder):
    untie(folder)
    return "[" * 100_000


@case("should have at most 262144 bytes, got 10000000", CONFIG)
def a_config_of_10_MB(folder):
    untie(folder)
    return b"#" * 10**7


@case("model should be the settings", CONFIG)
def a_config_with_9000_colliding_keys(folder):
    untie(folder)
    return "\n".join(f"{number * (2**61 - 1)}: 0" for number in range(1, 9_001))


@case("type python/object/apply:os.system, which no run writes", CONFIG)
def a_config_that_calls_a_shell(folder):
    untie(folder)
    return "model: !!python/object/apply:os.system ['touch /tmp/hacked']"


@case(r"model\.hidden_size is an interpolation", CONFIG)
def an_interpolation_of_the_environment(folder):
    return config_with(folder, hidden_size="${oc.env:HOSTILE_SECRET}")


@case("is not a layer of", CONFIG)
def a_layer_that_is_a_shell(folder):
    return config_with(folder, _target_="os.system")


@case("is not a layer of", CONFIG)
def a_layer_with_control_characters_in_its_name(folder):
    return config_with(folder, _target_="\x1b[2Jtorch.nn\x07" * 100)


@case(r"model\.nonlinearity\._\w+_ would make Hydra build an object", CONFIG)
def an_object_as_an_argument_of_the_layer(folder):
    return config_with(folder, nonlinearity={"_target_": "os.system", "_args_": ["touch /tmp/hacked"]})


@case("model needs [0-9]+ bytes for one tensor", CONFIG)
def a_layer_of_4_TB(folder):
    return config_with(folder, hidden_size=10**6)


@case("overflow|numel|too large|Storage size|out of range", CONFIG)
def a_layer_of_more_bytes_than_64_bits_count(folder):
    return config_with(folder, hidden_size=2**62)


@case("many more layers than the checkpoint has weights", CONFIG)
def a_billion_layers(folder):
    return config_with(folder, num_layers=10**9)


@case("many more layers|needs [0-9]+ bytes", CONFIG)
def a_billion_blocks_of_a_transformer(folder):
    untie(folder)
    layer = {"_target_": "seqmodels.layers.Transformer", "hidden_size": 8, "num_layers": 10**9, "batch_first": True}
    return yaml.safe_dump({"model": layer})


@case("needs [0-9]+ bytes for one tensor", CONFIG)
def a_convolution_padded_by_a_terabyte(folder):
    untie(folder)
    layer = {"_target_": "seqmodels.layers.TCN", "hidden_size": 8, "num_layers": 38, "batch_first": True}
    many = {f"model.layer.{i}": torch.zeros(1) for i in range(400)}
    (folder / BEST).write_bytes(checkpoint_without_untying(folder, state_dict=many))
    return yaml.safe_dump({"model": layer})


def checkpoint_without_untying(folder, **changes):
    output = io.BytesIO()
    torch.save(torch.load(folder / BEST, weights_only=True) | changes, output)
    return output.getvalue()


@case("hidden_size should be a positive whole number, got 'abc'", CONFIG)
def a_size_that_is_a_word(folder):
    return config_with(folder, hidden_size="abc")


@case("backend should be", CONFIG)
def a_backend_that_is_a_list(folder):
    return config_with(folder, backend=[1])


@case("model.device is not a setting of a run", CONFIG)
def a_layer_without_memory(folder):
    return config_with(folder, device="meta")


@case("expected a run folder, but .* has no config.yaml")
def no_config(folder):
    (folder / CONFIG).unlink()


@case("is not a regular file")
def a_folder_as_config(folder):
    (folder / CONFIG).unlink()
    (folder / CONFIG).mkdir()


@case("is not a regular file")
def a_pipe_as_config(folder):
    (folder / CONFIG).unlink()
    os.mkfifo(folder / CONFIG)


@case("is not a regular file")
def a_link_to_an_endless_device_as_config(folder):
    (folder / CONFIG).unlink()
    (folder / CONFIG).symlink_to("/dev/zero")


@case("config.yaml has changed since the run", CONFIG)
def another_nonlinearity_in_the_config(folder):
    return (folder / CONFIG).read_text().replace("nonlinearity: tanh", "nonlinearity: relu")


# checkpoints/best.ckpt


@case("is damaged, or not a checkpoint", BEST)
def an_empty_checkpoint(folder):
    return b""


@case("is damaged, or not a checkpoint", BEST)
def half_a_checkpoint(folder):
    content = (folder / BEST).read_bytes()
    return content[: len(content) // 2]


@case("is damaged, or not a checkpoint", BEST)
def a_checkpoint_of_random_bytes(folder):
    untie(folder)
    return bytes(range(256)) * 1000


def flipped(content, inside):
    """One bit flipped in the first numbers of an entry."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        (entry,) = [entry for entry in file.infolist() if entry.filename.endswith(inside)]
        numbers = file.read(entry)
    position = content.index(numbers)
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


@case("best.ckpt has changed since the run", BEST)
def a_flipped_bit_in_a_weight_of_a_finished_run(folder):
    return flipped((folder / BEST).read_bytes(), "data/1")


@case("does not match the digest stored with it", BEST)
def a_flipped_bit_in_a_weight_of_an_unfinished_run(folder):
    untie(folder)
    return flipped((folder / BEST).read_bytes(), "data/1")


@case("is damaged, or not a checkpoint: Bad CRC-32", BEST)
def a_flipped_bit_in_a_weight_of_an_earlier_version(folder):
    return flipped(checkpoint_with(folder), "data/1")


@case("is compressed; torch.save stores them", BEST)
def a_checkpoint_of_10_MB_that_unpacks_to_9600_MB(folder):
    untie(folder)
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.writestr("archive/data.pkl", b"\x80\x02}.")
        with file.open("archive/data/0", "w", force_zip64=True) as entry:
            for _ in range(30 if SMALL else 9600):
                entry.write(bytes(2**20))
    return output.getvalue()


@case("bytes unpack to", BEST)
def a_thousand_entries_that_are_the_same_bytes(folder):
    untie(folder)
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as file:
        file.writestr("archive/data.pkl", b"\x80\x02}.")
        file.writestr("archive/data/0", bytes(2**20))
        shared = file.getinfo("archive/data/0")
        for number in range(1, 1000):
            copy = zipfile.ZipInfo(f"archive/data/{number}")
            for name in ("header_offset", "file_size", "compress_size", "CRC"):
                setattr(copy, name, getattr(shared, name))
            file.filelist.append(copy)
    return output.getvalue()


@case("names (posix|nt).system, which no checkpoint needs", BEST)
def a_checkpoint_that_calls_a_shell(folder):
    untie(folder)
    return archive({"state_dict": Call(os.system, "touch /tmp/hacked")})


@case("names (__builtin__|builtins).bytearray", BEST)
def a_byte_array_of_a_terabyte(folder):
    untie(folder)
    return archive({"state_dict": Call(bytearray, 10**12)})


@case("numbers its objects beyond their count", BEST)
def an_object_numbered_four_billion(folder):
    untie(folder)
    return archive(b"\x80\x02}r\xff\xff\xff\xff.")


@case("has the instruction BYTEARRAY8|bytes in a bytearray8", BEST)
def an_instruction_that_reserves_memory(folder):
    untie(folder)
    return archive(b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b".")


@case("should have at most 1000000 instructions", BEST)
def four_million_instructions(folder):
    untie(folder)
    return archive(b"\x80\x02" + b"N" * (2**22 - 3) + b".")


@case("changes an attribute of a function", BEST)
def attributes_set_on_a_function(folder):
    untie(folder)
    return archive(b"\x80\x02ccollections\nCounter\nN}X\x06\x00\x00\x00updateNs\x86b.")


@case("expects 1000000000000 numbers in data/0", BEST)
def a_storage_that_claims_more_numbers_than_it_has(folder):
    untie(folder)
    return archive(whole(folder, tensor((10**12,), (1,), 10**12)), {"0": bytes(64)})


@case(r"describes a tensor of shape \(1000000, 1000000\) with 16 numbers", BEST)
def a_tensor_of_terabytes_over_16_numbers(folder):
    untie(folder)
    return archive(whole(folder, tensor((10**6, 10**6), (10**6, 1), 16)), {"0": bytes(64)})


@case("its weights have 4000000000000 bytes by their shapes", BEST)
def one_number_spread_over_terabytes(folder):
    untie(folder)
    weights = {"model.layer.weight_hh_l0": tensor((10**6, 10**6), (0, 0), 1)}
    return archive(whole(folder, None) | {"state_dict": weights}, {"0": bytes(4)})


@case("its weights have 4000000000000 bytes by their shapes", BEST)
def a_layer_and_a_spread_weight_of_terabytes(folder):
    (folder / CONFIG).write_text(config_with(folder, hidden_size=10**6))
    weights = {"model.layer.weight_hh_l0": tensor((10**6, 10**6), (0, 0), 1)}
    return archive(whole(folder, None) | {"state_dict": weights}, {"0": bytes(4)})


@case("is damaged, or not a checkpoint")
def a_checkpoint_of_a_terabyte_of_holes(folder):
    untie(folder)
    with (folder / BEST).open("r+b") as file:
        file.truncate(2**40)


@case("should have at most [0-9]+ bytes, got 1099511[0-9]+")
def a_weight_of_a_terabyte_of_holes(folder):
    untie(folder)
    weights = {"model.layer.weight_hh_l0": tensor((2**38,), (1,), 2**38)}
    (folder / BEST).write_bytes(archive(whole(folder, None) | {"state_dict": weights}, {"0": bytes(4)}))
    with zipfile.ZipFile(folder / BEST, "a") as file:
        file.getinfo("archive/data/0").file_size = file.getinfo("archive/data/0").compress_size = 2**40
        file.writestr("end", "")
        file.start_dir += 2**40


@case("list of entries")
def a_list_of_entries_of_a_gigabyte(folder):
    untie(folder)
    with (folder / BEST).open("wb") as file:
        file.truncate(2**30)
        file.seek(2**30)
        file.write(b"PK\x05\x06" + bytes(4) + b"\1\0\1\0" + (2**30).to_bytes(4, "little") + bytes(6))


@case(r"its weight layer.weight_ih_l0 has the shape \[8, 2\], and \[16, 2\]", CONFIG)
def a_checkpoint_of_another_size(folder):
    return config_with(folder, hidden_size=16)


@case("best.ckpt has changed since the run", BEST)
def the_checkpoint_of_another_run(folder):
    result = (folder / RESULT).read_bytes()
    content = checkpoint_with(folder, global_step=7)
    (folder / RESULT).write_bytes(result)
    return sealed(content)


@case("lacks, and the model of config.yaml has, the weight head.bias", BEST)
def a_checkpoint_without_a_weight(folder):
    weights = torch.load(folder / BEST, weights_only=True)["state_dict"]
    return checkpoint_with(
        folder, state_dict={key: value for key, value in weights.items() if key != "model.head.bias"}
    )


@case("it should hold a state_dict and the model_arguments", BEST)
def a_checkpoint_without_model_arguments(folder):
    return checkpoint_with(folder, model_arguments=None)


@case("it should hold a state_dict and the model_arguments", BEST)
def model_arguments_with_a_further_name(folder):
    arguments = torch.load(folder / BEST, weights_only=True)["model_arguments"]
    return checkpoint_with(folder, model_arguments=arguments | {"layer": 1})


@case("input_size should be a positive whole number, got '2'", BEST)
def an_input_size_that_is_a_string(folder):
    arguments = torch.load(folder / BEST, weights_only=True)["model_arguments"]
    return checkpoint_with(folder, model_arguments=arguments | {"input_size": "2"})


@case("bytes for one tensor|overflow|numel|Storage size", BEST)
def an_output_size_of_10_to_the_18(folder):
    arguments = torch.load(folder / BEST, weights_only=True)["model_arguments"]
    return checkpoint_with(folder, model_arguments=arguments | {"output_size": 10**18})


@case("state_dict should hold tensors by their names", BEST)
def weights_that_are_words(folder):
    return checkpoint_with(folder, state_dict={"model.head.bias": "words"})


@case("state_dict should hold tensors by their names", BEST)
def weights_named_by_numbers(folder):
    return checkpoint_with(folder, state_dict={1: torch.zeros(1)})


@case("it should hold a dict, got list", BEST)
def a_checkpoint_that_is_a_list(folder):
    untie(folder)
    return archive([1, 2])


@case("has two entries of the same name|one entry data.pkl", BEST)
def a_checkpoint_with_two_pickles(folder):
    untie(folder)
    first = archive({})
    output = io.BytesIO(first)
    with zipfile.ZipFile(output, "a") as file:
        file.writestr("other/data.pkl", b"\x80\x02}.")
    return output.getvalue()


@case("expected a run folder, but .* has no best.ckpt")
def no_checkpoint(folder):
    (folder / BEST).unlink()


@case("is not a regular file")
def a_folder_as_checkpoint(folder):
    (folder / BEST).unlink()
    (folder / BEST).mkdir()


@case("symbolic links|expected a run folder|Too many levels")
def a_link_to_itself_as_checkpoint(folder):
    (folder / BEST).unlink()
    (folder / BEST).symlink_to("best.ckpt")


# result.json


@case("result.json is not JSON", RESULT)
def half_a_result(folder):
    content = (folder / RESULT).read_bytes()
    return content[: len(content) // 2]


@case("result.json: digests should be names of files", RESULT)
def digests_that_are_a_list(folder):
    return json.dumps({"digests": [1, 2]})


@case("nested too deeply", RESULT)
def a_result_nested_100000_deep(folder):
    return "[" * 100_000


# model.safetensors: the run as it was shared

SHARED = "model.safetensors"


def shared(complaint):
    """Register a case that changes the content of a shared folder's weights."""

    def register(function):
        @case(complaint, SHARED)
        def damage(folder):
            untie(folder)
            (folder / BEST).unlink()
            return function(bytearray((folder.parent / "shared" / SHARED).read_bytes()))

        CASES[function.__name__.replace("_", " ")] = CASES.pop("damage")
        return function

    return register


@shared("its tensors do not match the digest")
def shared_weights_with_a_flipped_bit(content):
    content[-1] ^= 1
    return content


@shared("header|[Ii]nvalid|[Ii]ncomplete|buffer")
def half_of_shared_weights(content):
    return content[: len(content) // 2]


@shared("header should have at most")
def shared_weights_with_a_header_of_a_gigabyte(content):
    return (2**30).to_bytes(8, "little") + content[8:]


@shared("metadata should have model_arguments and digests")
def shared_weights_of_another_library(content):
    from safetensors.torch import save

    return save({"weight": torch.zeros(2)})


@shared("[Hh]eader|[Ii]nvalid|offset|overflow")
def shared_weights_that_claim_terabytes(content):
    header = json.dumps({"a": {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4 * 10**12]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(64)


@shared("config.yaml has changed since the run")
def shared_weights_beside_another_config(content):
    return content.replace(b'config.yaml\\": \\"', b'config.yaml\\": \\"0', 1)[: len(content)]


SMALL = True
"""Whether the largest file is made smaller, to save time."""


def measured(folder):
    """What comes of opening a folder in a process of its own: type, message, seconds, and MB beyond this process."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        before, started = peak(), time.perf_counter()
        try:
            load_run(folder)
            outcome = ["loaded", ""]
        except BaseException as error:
            outcome = [type(error).__name__, str(error)]
        os.write(writer, json.dumps([*outcome, time.perf_counter() - started, peak() - before]).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as lines:
        return json.load(lines)


def peak():
    """The peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


if __name__ == "__main__":
    good = Path(sys.argv[1])
    SMALL = False
    torch.set_num_threads(1)
    load_run(good)
    for name, (damage, _) in CASES.items():
        folder = good.parent / name.replace(" ", "_")
        shutil.copytree(good, folder)
        damage(folder)
        print(json.dumps([name, *measured(folder)]), flush=True)
        shutil.rmtree(folder)
