import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from vision_recs.encoders.backbone import digest
from vision_recs.encoders.checkpoints import load_exactly, read_tensors, without
from vision_recs.errors import WeightsNotFound

TENSORS = {"body.weight": torch.arange(6.0).view(2, 3), "head.bias": torch.ones(2)}


@pytest.mark.parametrize(
    "content",
    [
        TENSORS,
        {"state_dict": TENSORS, "epoch": 3, "optimizer": {"lr": 0.1}},
        {"model": TENSORS},
        {f"module.{name}": tensor for name, tensor in TENSORS.items()},
        {**TENSORS, "version": 2},
    ],
    ids=["plain", "state_dict", "model", "module", "with-a-number"],
)
def test_the_forms_in_which_state_dicts_are_saved_are_read(content, tmp_path):
    torch.save(content, tmp_path / "weights.pt")
    read = read_tensors(tmp_path / "weights.pt")
    assert read.keys() == TENSORS.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in TENSORS.items())


class Opens:
    """What a hostile pickle holds: it creates a file when it is read by `pickle`."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return open, (str(self.file), "w")


def test_a_file_that_needs_code_is_refused_and_its_code_not_run(tmp_path):
    torch.save({"state_dict": TENSORS, "extra": Opens(tmp_path / "pwned")}, tmp_path / "hostile.pt")
    with pytest.raises(WeightsNotFound, match=r"hostile\.pt holds Python objects that need code to be read"):
        read_tensors(tmp_path / "hostile.pt")
    assert not (tmp_path / "pwned").exists()


def truncated(file):
    torch.save(TENSORS, file)
    file.write_bytes(file.read_bytes()[:200])


@pytest.mark.parametrize(
    ("name", "write", "says"),
    [
        ("none.pt", lambda _file: None, "there is no weights file .*none.pt; pass --weights a"),
        ("folder.pt", lambda file: file.mkdir(), "there is no weights file .*folder.pt"),
        ("short.pt", truncated, r"short\.pt cannot be read as weights"),
        ("empty.pth", lambda file: file.touch(), r"empty\.pth cannot be read as weights \(EOFError"),
        ("page.safetensors", lambda file: file.write_text("<html>"), r"page\.safetensors cannot be read as weights"),
        ("list.pt", lambda file: torch.save([1, 2], file), r"list\.pt holds no tensors by name; save the model's"),
        ("run.pt", lambda file: torch.save({"epoch": 1, "net": TENSORS}, file), r"run\.pt holds no tensors by name"),
    ],
)
def test_a_file_that_holds_no_weights_is_named(name, write, says, tmp_path):
    write(tmp_path / name)
    with pytest.raises(WeightsNotFound, match=says) as caught:
        read_tensors(tmp_path / name)
    assert "\n" not in str(caught.value)


def network():
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))


def test_tensors_that_do_not_fit_are_counted_and_the_first_named(tmp_path):
    tensors = network().state_dict()
    del tensors["0.weight"], tensors["0.bias"]
    tensors |= {f"extra.{i}": torch.ones(1) for i in range(5)} | {"2.weight": torch.ones(3, 3)}
    with pytest.raises(WeightsNotFound) as caught:
        load_exactly(network(), tensors, encoder="resnet9", file=tmp_path / "x.pt")
    assert str(caught.value) == (
        f"{tmp_path}/x.pt holds other weights than those of resnet9: 2 missing (0.bias, 0.weight), "
        "5 unexpected (extra.0, extra.1, extra.2, ...), 1 of another shape (2.weight); "
        "pass the file that belongs to it, or name its encoder"
    )


def test_step_counters_may_be_absent_and_half_precision_becomes_single(tmp_path):
    source, target = network(), network()
    tensors = {k: v.half() for k, v in source.state_dict().items() if v.is_floating_point()}
    load_exactly(target, tensors, encoder="resnet9", file=tmp_path / "x.pt")
    assert all(torch.equal(v, tensors[k].float()) for k, v in target.state_dict().items() if k in tensors)


def test_only_whole_parts_are_left_out():
    assert without({"fc.weight": 1, "fc_norm.weight": 2, "body.fc.weight": 3}, ["fc"]) == {
        "fc_norm.weight": 2,
        "body.fc.weight": 3,
    }


def test_a_digest_depends_on_values_names_and_shapes_and_on_nothing_else(tmp_path):
    one, same, moved = (nn.Sequential(nn.Linear(2, 3)) for _ in range(3))
    torch.save(one.state_dict(), tmp_path / "one.pt")
    save_file(one.state_dict(), tmp_path / "one.safetensors")
    for file in ("one.pt", "one.safetensors"):
        same.load_state_dict(read_tensors(tmp_path / file))
        assert digest(same) == digest(one)
    with torch.no_grad():
        moved.load_state_dict(one.state_dict())
        moved[0].weight[0, 0] += 1e-6
    reshaped = nn.Sequential(nn.Linear(3, 2))
    reshaped[0].weight = nn.Parameter(one[0].weight.reshape(2, 3))
    reshaped[0].bias = one[0].bias
    deeper = nn.Sequential(nn.Sequential(one[0]))
    assert len({digest(each) for each in (one, moved, reshaped, deeper)}) == 4


def test_a_digest_overlooks_the_steps_of_training():
    first, second = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    second.num_batches_tracked += 7
    assert digest(first) == digest(second)
