import logging
import socket
import urllib.error

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import nn

from vision_recs.encoders import load_encoder
from vision_recs.encoders.backbone import digest
from vision_recs.encoders.weights import from_hub, from_url, load_exactly, quiet, read_tensors, without
from vision_recs.errors import WeightsNotFound


@pytest.fixture
def lookups(monkeypatch):
    """The servers that were looked up, none of which can be found, on a machine that believes to be online."""
    servers = []

    def unknown(server, *_arguments, **_options):
        servers.append(server)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("socket.getaddrinfo", unknown)
    return servers


def test_what_the_cache_of_the_hub_has_is_used_without_a_request(seeded, in_hub_cache, tmp_path, lookups):
    file = tmp_path / "vit.safetensors"
    save_file(seeded(lambda: timm.create_model("test_vit")).state_dict(), file)
    in_hub_cache("timm/test_vit.r160_in1k", model__safetensors=lambda to: to.symlink_to(file))
    found, given = (load_encoder("timm:test_vit", weights=each, device="cpu") for each in (None, file))
    assert found.spec == given.spec
    assert lookups == []


def test_a_server_out_of_reach_is_looked_up_once(lookups, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)  # a question of the library's own
    with pytest.raises(WeightsNotFound, match=r"could not be fetched \(ConnectE.*Name or service not known\): looked"):
        from_hub("shop/tiny", ["a.safetensors", "b.bin"], encoder="tiny")
    assert [str(server) for server in lookups] == ["huggingface.co"]


def test_the_first_file_that_the_hub_has_is_fetched(monkeypatch, tmp_path):
    from huggingface_hub.errors import EntryNotFoundError

    def metadata(url):
        if url.endswith("first.safetensors"):
            raise EntryNotFoundError("404")

    def download(repository, file, *, revision):
        return tmp_path / repository / revision / file

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", metadata)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    found = from_hub("shop/tiny", ["first.safetensors", "second.bin"], encoder="tiny", revision="c0ffee")
    assert found == tmp_path / "shop" / "tiny" / "c0ffee" / "second.bin"
    with pytest.raises(WeightsNotFound, match=r"could not be fetched \(EntryNotFoundError: 404\): looked for first\."):
        from_hub("shop/tiny", ["first.safetensors"], encoder="tiny")


def test_a_file_of_torch_hub_is_downloaded_once_and_its_checksum_is_checked(monkeypatch, tmp_path):
    calls = []

    def download(url, file, checksum, *, progress):
        calls.append((url, checksum, progress))
        torch.save({}, file)

    monkeypatch.setattr("torch.hub.download_url_to_file", download)
    url = "https://download.pytorch.org/models/resnet50-11ad3fa6.pth"
    for _ in range(2):
        assert from_url(url, encoder="resnet50") == tmp_path / "torch/hub/checkpoints/resnet50-11ad3fa6.pth"
    assert calls == [(url, "11ad3fa6", False)]


@pytest.mark.parametrize("error", [urllib.error.URLError("down"), TimeoutError("slow"), RuntimeError("invalid hash")])
def test_whatever_stops_a_download_becomes_one_sentence(error, monkeypatch):
    def fails(*_arguments, **_options):
        raise error

    monkeypatch.setattr("torch.hub.download_url_to_file", fails)
    with pytest.raises(WeightsNotFound, match=f"could not be fetched \\({type(error).__name__}: .*go online once, or"):
        from_url("https://example.org/x.pth", encoder="x")


def test_while_a_model_is_loaded_only_the_programs_own_log_is_heard(caplog, tiny_clip, tmp_path):
    import open_clip

    folder = tiny_clip(tmp_path / "tiny")
    with quiet():
        open_clip.create_model(f"local-dir:{folder}")
        logging.getLogger().warning("from the program")
    assert [record.message for record in caplog.records] == ["from the program"]
    open_clip.create_model(f"local-dir:{folder}")
    assert any("initialized randomly" in record.message for record in caplog.records)


# What files hold


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
        ("none.pt", lambda _file: None, "the weights file .*none.pt does not exist; pass --weights a"),
        ("folder.pt", lambda file: file.mkdir(), "the weights file .*folder.pt does not exist"),
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
