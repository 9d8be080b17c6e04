"""GPU, precision and kernels, as torch's process and the system report them."""

import sys

import pytest
import torch

from lrelu_bench.doctor import compute, kernels, torch_probe
from lrelu_bench.training import cpu

GPU = {"name": "A GPU", "capability": "9.0", "total": 80 * 10**9, "free": 79 * 10**9, "error": None}


def _devices(gpus=(), cuda="13.0", warnings=()):
    return {
        "cuda": cuda,
        "hip": None,
        "available": bool(gpus),
        "warnings": list(warnings),
        "gpus": list(gpus),
    }


def _one(findings):
    (finding,) = findings
    return finding


def _card(monkeypatch, tmp_path, kind="0x030200"):
    device = tmp_path / "bus" / "0000:00:05.0"
    device.mkdir(parents=True)
    (device / "vendor").write_text("0x10de\n")
    (device / "class").write_text(f"{kind}\n")
    monkeypatch.setattr(compute, "PCI_DEVICES", tmp_path / "bus")


def _driver(monkeypatch, tmp_path):
    (tmp_path / "version").touch()
    monkeypatch.setattr(compute, "DRIVER_FILES", (str(tmp_path / "version"),))


def test_torch_itself_answers_every_stage():
    report = compute.Probe().report()
    assert (report.failure, list(report.stages)) == (None, list(torch_probe.STAGES))
    for name in torch_probe.STAGES:
        said, why = report.stage(name) if name != "mnist_addresses" else (report.stages[name], "")
        assert said, why
    assert report.stages["kernels"]["same"] is True
    assert report.stages["choice"]["device"] == report.stages["kernels"]["device"]


@pytest.mark.parametrize(("prefers", "precision"), [(True, "bf16"), (False, "fp32")])
def test_what_choose_compute_decides_is_what_is_reported(monkeypatch, prefers, precision):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(cpu, "prefers_bf16", lambda: prefers)
    said = torch_probe.choice()
    assert (said["device"], said["precision"], said["cuda_graph"]) == ("cpu", precision, False)


@pytest.mark.parametrize(
    ("command", "failure"),
    [
        ("import os; os.kill(os.getpid(), 11)", "torch's process was killed by signal 11"),
        (
            "raise OSError('libcudart.so.13: no such file')",
            "OSError: libcudart.so.13: no such file (exit code 1)",
        ),
        ("import time; time.sleep(60)", "torch's process was still busy after 2 s"),
    ],
)
def test_stages_before_a_crash_are_known(command, failure):
    if sys.platform == "win32" and "kill" in command:
        pytest.skip("no signals")
    first = "print('a library talks'); print('{\"imports\": {\"torch\": 1.5}}', flush=True); "
    report = compute.ask(first + command, limit=2)
    assert report.failure == failure
    assert report.stage("imports") == ({"torch": 1.5}, "")
    assert report.stage("devices") == (None, failure)


def test_no_process_at_all_is_said(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert "no process could be started" in (compute.ask("pass").failure or "")


def test_torch_is_asked_once_for_all_checks(monkeypatch):
    asked = []
    monkeypatch.setattr(compute, "ask", lambda command: asked.append(command) or compute.Report())
    probe = compute.Probe()
    assert probe.report() is probe.report()
    assert asked == [compute.COMMAND]


def test_a_pair_that_does_not_match_cannot_be_imported(torch_says):
    error = "RuntimeError: operator torchvision::nms does not exist"
    probe = torch_says(imports={"torch": 1.0, "torchvision": error, "numba": 0.1, "triton": None})
    of_torch, torchvision = compute.imports(probe)
    assert (of_torch.status, of_torch.detail) == ("ok", "takes 1.0 s")
    assert (torchvision.check, torchvision.detail) == ("import torchvision", error)
    assert torchvision.remedy == "install it again: pip install --force-reinstall torch torchvision"


def test_whatever_cannot_be_imported_is_a_problem(monkeypatch, torch_says):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setattr(torch_probe, "find_spec", lambda name: name if name != "triton" else None)
    said = torch_probe.imports()
    assert said["triton"] is None
    (finding,) = (f for f in compute.imports(torch_says(imports=said)) if f.status == "problem")
    assert (finding.check, finding.remedy) == (
        "import safetensors",
        "install it again: pip install --force-reinstall safetensors",
    )
    assert "import of safetensors halted" in finding.detail


def test_a_torch_that_crashes_is_a_problem_of_everything_that_computes(torch_says):
    probe = torch_says(failure="torch's process was killed by signal 11")
    findings = [*compute.imports(probe), *compute.gpus(probe), *compute.choice(probe), *kernels.fused(probe)]
    assert [f.status for f in findings] == ["problem"] * 4
    assert all("signal 11" in f.detail and f.remedy for f in findings)


def test_a_machine_without_a_gpu_is_well(torch_says):
    finding = _one(compute.gpus(torch_says()))
    assert (finding.status, finding.remedy) == ("ok", None)
    assert "runs train on the CPU" in finding.detail


def test_a_missing_driver_is_a_problem(monkeypatch, tmp_path, torch_says):
    _card(monkeypatch, tmp_path)
    finding = _one(compute.gpus(torch_says()))
    assert (finding.status, finding.detail) == (
        "problem",
        "an NVIDIA card is in this machine, but no driver for it is loaded",
    )
    assert "driver" in finding.remedy


def test_the_sound_of_a_card_is_no_card(monkeypatch, tmp_path, torch_says):
    _card(monkeypatch, tmp_path, kind="0x040300")
    assert _one(compute.gpus(torch_says())).status == "ok"


def test_a_driver_with_a_build_for_cpus_is_a_problem(monkeypatch, tmp_path, torch_says):
    _driver(monkeypatch, tmp_path)
    finding = _one(compute.gpus(torch_says(devices=_devices(cuda=None))))
    assert finding.status == "problem"
    assert "a build for CPUs only" in finding.detail
    assert "pip install" in finding.remedy


def test_a_driver_too_old_is_named_in_torchs_words(monkeypatch, tmp_path, torch_says):
    _driver(monkeypatch, tmp_path)
    said = "CUDA initialization: The NVIDIA driver on your system is too old (found version 11040)."
    finding = _one(compute.gpus(torch_says(devices=_devices(warnings=[said]))))
    assert finding.status == "problem"
    assert finding.detail.endswith(f"torch with CUDA 13.0 sees no GPU ({said})")


def test_a_hidden_gpu_is_a_warning(monkeypatch, tmp_path, torch_says):
    _driver(monkeypatch, tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    finding = _one(compute.gpus(torch_says(devices=_devices())))
    assert (finding.status, finding.remedy) == ("warning", "unset CUDA_VISIBLE_DEVICES")


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({}, "ok", "A GPU, capability 9.0, 79.0 GB of 80.0 GB free"),
        ({"free": 10**9}, "warning", "1.0 GB of 80.0 GB free; a run wants 3.0 GB or more"),
        (
            {"error": "AcceleratorError: no kernel image is available", "free": None},
            "problem",
            "no kernel image",
        ),
    ],
)
def test_a_gpu_is_judged_by_whether_it_computes_and_what_is_free(torch_says, change, status, words):
    finding = _one(compute.gpus(torch_says(devices=_devices([{**GPU, **change}]))))
    assert (finding.check, finding.status) == ("GPU 0", status)
    assert words in finding.detail
    assert (finding.remedy is None) == (status == "ok")


def test_of_several_gpus_the_first_trains(torch_says):
    *two, note = compute.gpus(torch_says(devices=_devices([GPU, GPU])))
    assert [f.check for f in two] == ["GPU 0", "GPU 1"]
    assert note.detail == "a run trains on GPU 0; CUDA_VISIBLE_DEVICES chooses another"


def test_what_a_run_uses(torch_says):
    assert _one(compute.choice(torch_says())).detail == "cpu, bf16; the processor has units for bf16 (AVX512)"
    graph = {"device": "cuda", "precision": "bf16", "cuda_graph": True, "cpu_bf16": False}
    said = _one(compute.choice(torch_says(choice=graph))).detail
    assert said == "cuda, bf16, steps captured as CUDA graphs"


def test_a_choice_that_cannot_be_made_says_why(torch_says):
    finding = _one(compute.choice(torch_says(choice={"error": "BenchError: no config"})))
    assert (finding.status, finding.detail) == ("problem", "cannot be decided: BenchError: no config")


def test_kernels_that_compute_something_else_are_a_problem(torch_says, tmp_path):
    wrong = {"device": "cpu", "seconds": 0.1, "same": False, "cache": str(tmp_path)}
    bad, cache = kernels.fused(torch_says(kernels=wrong))
    assert (bad.status, bad.detail) == ("problem", "compute something else than the formula on the CPU")
    assert (cache.status, cache.detail) == ("ok", str(tmp_path))


def test_numbas_cache_that_cannot_be_written_is_a_warning(torch_says, tmp_path):
    _, none = kernels.fused(torch_says())
    assert (none.status, none.remedy) == ("warning", "set NUMBA_CACHE_DIR to a folder of yours")
    (tmp_path / "file").touch()
    said = {"device": "cpu", "seconds": 0.1, "same": True, "cache": str(tmp_path / "file")}
    _, file = kernels.fused(torch_says(kernels=said))
    assert file.status == "warning"
    assert "is no folder" in file.detail


def test_numba_turned_off_is_a_problem(monkeypatch, torch_says):
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert _one(kernels.fused(torch_says())).remedy == "unset NUMBA_DISABLE_JIT"
