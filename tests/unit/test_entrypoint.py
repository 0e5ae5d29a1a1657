"""The real `train` command in a base directory of its own: exit codes, the failure file, script mode, stopping."""

import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from image_classifier.training import metrics
from train_command import MODULE, RUN, Python, configure, failure, start, start_as_installed, submit, train


@pytest.fixture
def base(tmp_path: Path) -> Path:
    for folder in ("input/config", "input/data", "model", "output"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def test_a_users_mistake_is_one_sentence_and_exit_code_1(base: Path, python: Python) -> None:
    configure(base, epoch="3")
    result = train(base, python)
    assert result.returncode == 1
    assert failure(base).startswith("Unknown hyperparameter epoch; did you mean epochs?")
    assert "Unknown hyperparameter epoch; did you mean epochs?" in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr


def test_no_data_is_a_users_mistake(base: Path, python: Python) -> None:
    configure(base)
    result = train(base, python)
    assert result.returncode == 1
    assert failure(base).startswith("There is no training data (channels found: none)")
    assert "Traceback" not in result.stdout + result.stderr


def test_a_job_ends_with_0_a_model_and_no_failure_file(
    base: Path, python: Python, folders: Callable[..., Path]
) -> None:
    folders(base / "input" / "data" / "train", {"amber": 4, "blue": 4})
    configure(
        base,
        architecture='"shufflenet_v2_x0_5"',
        **{"batch-size": "4", "epochs": "1", "image_size": "32", "pretrained": "False", "freeze_backbone": "False"},
    )
    (base / "output" / "failure").write_text("of an earlier run")
    result = train(base, python)
    assert result.returncode == 0, result.stdout + result.stderr
    assert (base / "model" / "model.safetensors").exists()
    assert not (base / "output" / "failure").exists()
    assert "epoch=1; train_loss=" in result.stdout
    assert "architecture = shufflenet_v2_x0_5" in result.stdout


def test_a_log_of_json_lines_keeps_the_metric_lines_as_they_are(
    base: Path, python: Python, folders: Callable[..., Path]
) -> None:
    folders(base / "input" / "data" / "train", {"amber": 4, "blue": 4})
    configure(
        base,
        architecture="shufflenet_v2_x0_5",
        **{"epochs": "1", "image_size": "32", "pretrained": "false", "freeze_backbone": "false", "compile": "off"},
    )
    result = train(base, python, CLASSIFIER_LOG_FORMAT="json")
    assert result.returncode == 0, result.stdout + result.stderr
    lines = result.stdout.splitlines()
    read = {entry["Name"]: re.findall(entry["Regex"], result.stdout) for entry in metrics.definitions()}
    assert len(read["val_loss"]) == len(read["job_seconds"]) == 1
    told = [json.loads(line) for line in lines if line.startswith("{")]
    assert all({"time", "level", "logger", "message"} <= set(each) for each in told)
    assert any(each["message"].startswith("Data: 2 classes;") for each in told)
    plain = [line for line in lines if not line.startswith("{")]
    assert all(re.match(r"Imported framework|(epoch|features_seconds)=", line) for line in plain), plain


def test_an_error_of_the_program_is_exit_code_2_with_the_reason_first(base: Path, python: Python) -> None:
    configure(base)
    code = f"import image_classifier.training.dataset as d\nd.find = lambda *a: 1 // 0\n{RUN}"
    result = python("-c", code, cwd=base, SAGEMAKER_BASE_DIR=str(base), SAGEMAKER_TRAINING_MODULE=MODULE)
    assert result.returncode == 2
    assert failure(base).startswith("ZeroDivisionError: integer division or modulo by zero\n\n")


def test_a_full_disk_is_exit_code_3_with_the_remedy(base: Path, python: Python) -> None:
    configure(base)
    full = "def full(*a):\n raise OSError(28, 'No space left on device', '/opt/ml/model/x')\n"
    code = f"import image_classifier.training.dataset as d\n{full}d.find = full\n{RUN}"
    result = python("-c", code, cwd=base, SAGEMAKER_BASE_DIR=str(base), SAGEMAKER_TRAINING_MODULE=MODULE)
    assert result.returncode == 3
    assert failure(base).startswith("The disk is full while writing /opt/ml/model/x; give the job a larger volume.")


def instead_of_a_job(words: str) -> str:
    """What makes `train` do this once it has imported torch."""
    return f"import os, time, image_classifier.training.cluster as c; c.read = lambda *_: {words}; "


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGKILL, "SIGKILL; it may have run out of memory"),
        (signal.SIGSEGV, "SIGSEGV; a native library crashed;"),
        (signal.SIGILL, "SIGILL; it holds instructions that this processor does not have;"),
    ],
)
def test_a_job_that_the_kernel_ends_says_so_in_words_with_exit_code_3(
    base: Path, number: signal.Signals, words: str
) -> None:
    configure(base)
    with start(base, instead_of_a_job(f"os.kill(os.getpid(), {number})")) as job:
        said, _ = job.communicate(timeout=60)
    assert job.returncode == 3, said
    assert failure(base).startswith(f"The job was ended by {words}")
    assert f"The job was ended by {words}" in said


def test_a_job_that_leaves_without_a_word_keeps_its_exit_code(base: Path) -> None:
    configure(base)
    with start(base, instead_of_a_job("os._exit(7)")) as job:
        said, _ = job.communicate(timeout=60)
    assert job.returncode == 7, said
    assert "The job ended without a word; see the log." in failure(base)


def test_what_waits_for_the_job_is_small_and_takes_it_along_when_it_is_killed(base: Path) -> None:
    configure(base)
    with start(base, instead_of_a_job("print('ready', flush=True) or time.sleep(60)")) as job:
        assert job.stdout is not None
        assert any(line.strip() == "ready" for line in job.stdout)
        waiting = psutil.Process(job.pid)
        (child,) = waiting.children()
        assert waiting.memory_info().rss < 120 << 20 < child.memory_info().rss
        assert os.getpgid(child.pid) != os.getpgid(job.pid), "Ctrl-C on a terminal would reach it twice"
        job.kill()
        child.wait(10)
    assert not psutil.pid_exists(child.pid) or child.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_job_orderly_with_0_and_a_model(
    base: Path, folders: Callable[..., Path], number: signal.Signals
) -> None:
    folders(base / "input" / "data" / "train", {"amber": 4, "blue": 4})
    own = {"pretrained": "false", "freeze_backbone": "false", "image_size": "32", "epochs": "500", "compile": "off"}
    configure(base, architecture="shufflenet_v2_x0_5", **own)
    with start(base) as job:
        assert job.stdout is not None
        assert any(line.startswith("epoch=1;") for line in job.stdout)
        job.send_signal(number)
        said = job.stdout.read()
        assert job.wait(30) == 0, said
    assert f"{number.name} received: stopping after this step." in said
    assert (base / "model" / "model.safetensors").exists()
    assert not (base / "output" / "failure").exists()


def test_a_users_own_program_runs_with_its_hyperparameters(base: Path, python: Python) -> None:
    submit(base, "import os, sys\nopen(os.environ['SM_MODEL_DIR'] + '/mine', 'w').write(' '.join(sys.argv[1:]))\n")
    result = train(base, python)
    assert result.returncode == 0, result.stdout + result.stderr
    assert (base / "model" / "mine").read_text() == "--depth 3"


def test_a_users_own_program_that_fails_says_why(base: Path, python: Python) -> None:
    submit(base, "raise ValueError('the third column is missing')\n")
    result = train(base, python)
    assert result.returncode != 0
    assert failure(base) == "train_it.py failed with exit code 1: ValueError: the third column is missing"


def test_a_signal_reaches_the_users_own_program(base: Path) -> None:
    submit(
        base,
        "import signal, sys, time\n"
        "def end(*_): print('saved', flush=True); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('ready', flush=True)\ntime.sleep(60)\n",
    )
    lines, started = [], 0.0
    with start(base) as job:
        assert job.stdout is not None
        for line in job.stdout:
            lines.append(line.strip())
            if line.strip() == "ready":
                started = time.monotonic()
                job.send_signal(signal.SIGTERM)
        assert job.wait(30) == 0, lines
    assert "saved" in lines
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("moment", [0.1, 0.3])
@pytest.mark.parametrize("own_program", [False, True])
def test_a_signal_before_the_program_listens_is_not_lost(base: Path, moment: float, own_program: bool) -> None:
    configure(base)
    if own_program:
        submit(base, "import time\nprint('begun', flush=True)\ntime.sleep(60)\n")
    with start_as_installed(base) as job:
        time.sleep(moment)
        job.send_signal(signal.SIGTERM)
        said, _ = job.communicate(timeout=30)
    assert job.returncode == 1, said
    if not own_program or not failure(base).startswith("train_it.py was ended by SIGTERM"):  # it had begun already
        assert failure(base).startswith("Training was stopped before its first step since this start")
        assert "begun" not in said
    assert "Traceback" not in said


@pytest.mark.parametrize("helper", ["None", "subprocess.Popen(['sleep', '60'])"])
def test_a_signal_while_the_toolkit_prepares_the_users_own_program_reaches_it(base: Path, helper: str) -> None:
    submit(base, "import time\nprint('begun', flush=True)\ntime.sleep(60)\n")
    early = (
        "import os, signal, subprocess; from sagemaker_training import entry_point; run = entry_point.run\n"
        "def prepare(**more):\n"
        f"    helper = {helper}\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    helper and helper.wait()\n"
        "    run(**more)\n"
        "entry_point.run = prepare\n"
    )
    started = time.monotonic()
    with start(base, early) as job:
        said, _ = job.communicate(timeout=30)
    assert job.returncode == 1, said
    assert failure(base).startswith("train_it.py was ended by SIGTERM; it was asked to stop, and did not listen")
    assert time.monotonic() - started < 20


def test_a_program_that_is_deaf_to_the_signal_is_killed_with_all_that_it_started_and_the_reason_is_kept(
    base: Path,
) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); "
    submit(
        base,
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {deaf + 'time.sleep(60)'!r}])\n"
        f"print('child', child.pid, flush=True)\n{deaf}time.sleep(60)\n",
    )
    child, ready = 0, 0
    with start(base, "import image_classifier.training.forwarding as f; f.PATIENCE = 1.0; ") as job:
        assert job.stdout is not None
        for line in job.stdout:
            child = int(line.split()[1]) if line.startswith("child ") else child
            ready += line.strip() == "ready"
            if ready == 2:
                ready, started = 0, time.monotonic()
                job.send_signal(signal.SIGTERM)
        assert job.wait(30) == 1
    assert time.monotonic() - started < 20
    assert failure(base).startswith("train_it.py did not end within 1 s of SIGTERM and was killed; on SIGTERM, save")
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_a_program_that_the_kernel_ended_says_so_in_words(base: Path, python: Python) -> None:
    submit(base, "import os, signal, sys\nprint('epoch 3', file=sys.stderr)\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    assert train(base, python).returncode == 1
    assert failure(base).startswith("train_it.py was ended by SIGSEGV; a native library crashed;")
    assert failure(base).endswith("(exit code -11): epoch 3")


def configure_torchrun(base: Path, script: str) -> None:
    submit(base, script)
    path = base / "input/config/hyperparameters.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sagemaker_torch_distributed_enabled": "true"}))


def test_a_users_own_program_is_started_through_torchrun_where_that_was_asked_for(base: Path, python: Python) -> None:
    configure_torchrun(
        base,
        "import os, sys\nimport torch.distributed as dist\ndist.init_process_group('gloo')\n"
        "told = [dist.get_rank(), dist.get_world_size(), *sys.argv[1:]]\n"
        "open(os.environ['SM_MODEL_DIR'] + '/mine', 'w').write(' '.join(map(str, told)))\n",
    )
    result = train(base, python)
    assert result.returncode == 0, result.stdout + result.stderr
    assert (base / "model" / "mine").read_text() == "0 1 --depth 3"


@pytest.mark.parametrize(("size", "wanted"), [("64 << 20", "1 1"), ("8 << 30", "None None")])
def test_under_torchrun_gpus_do_without_a_dev_shm_that_is_too_small(base: Path, size: str, wanted: str) -> None:
    configure_torchrun(
        base,
        "import os\nname = os.environ['SM_MODEL_DIR'] + '/' + os.environ['LOCAL_RANK']\n"
        "open(name, 'w').write(str(os.environ.get('NCCL_SHM_DISABLE')))\n",
    )
    shared = f"from image_classifier import machine as m; m.shared_memory = lambda: {size}; "
    gpus = "from sagemaker_training import environment as e; e.num_gpus = lambda: 2; "
    with start(base, shared + gpus) as job:
        said, _ = job.communicate(timeout=60)
    assert job.returncode == 0, said
    assert " ".join((base / "model" / rank).read_text() for rank in "01") == wanted
    assert said.count("/dev/shm is 64 MiB, too little for 2 GPUs") == (wanted == "1 1")


def test_a_program_that_fails_under_torchrun_fails_the_job_and_says_why(base: Path, python: Python) -> None:
    configure_torchrun(base, "raise ValueError('the third column is missing')\n")
    assert train(base, python).returncode == 1
    assert failure(base) == "train_it.py failed with exit code 1: ValueError: the third column is missing"
