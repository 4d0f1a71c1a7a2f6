import logging
import socket
import urllib.error

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from vision_recs.encoders import load_encoder
from vision_recs.encoders.weights import from_hub, from_url, quiet
from vision_recs.errors import WeightsNotFound


@pytest.fixture
def asked(monkeypatch):
    """The servers that were looked up, none of which can be found, on a machine that believes to be online."""
    servers = []

    def unknown(server, *_arguments, **_options):
        servers.append(server)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("socket.getaddrinfo", unknown)
    return servers


def test_what_the_cache_of_the_hub_has_is_used_without_a_question(seeded, in_hub_cache, tmp_path, asked):
    file = tmp_path / "vit.safetensors"
    save_file(seeded(lambda: timm.create_model("test_vit")).state_dict(), file)
    in_hub_cache("timm/test_vit.r160_in1k", model__safetensors=lambda to: to.symlink_to(file))
    found, given = (load_encoder("timm:test_vit", weights=each, device="cpu") for each in (None, file))
    assert found.spec == given.spec
    assert asked == []


def test_a_server_out_of_reach_is_asked_once(asked, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)  # a question of the library's own
    with pytest.raises(WeightsNotFound, match=r"could not be fetched \(ConnectE.*Name or service not known\): looked"):
        from_hub("shop/tiny", ["a.safetensors", "b.bin"], encoder="tiny")
    assert [str(server) for server in asked] == ["huggingface.co"]


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


def test_a_file_of_torch_hub_is_downloaded_once_and_its_checksum_asked_for(monkeypatch, tmp_path):
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
