"""All cases by name."""

from fault_cases.faults import FAULTS, Case
from fault_cases.healthy import HEALTHY
from fault_cases.machine import MACHINE_FAULTS, MACHINE_HEALTHY

ALL: dict[str, Case] = {case.name: case for case in (*FAULTS, *MACHINE_FAULTS, *HEALTHY, *MACHINE_HEALTHY)}
ALONE = frozenset(case.name for case in (*MACHINE_FAULTS, *MACHINE_HEALTHY))  # what else runs would be measured too
