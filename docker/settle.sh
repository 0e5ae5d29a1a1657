#!/bin/sh
# Gives what was changed under FOLDER since SINCE (seconds since 1970; by default, all of it) one time,
# so that a layer has the same digest whenever it is built:
#   SOURCE_DATE_EPOCH=seconds settle.sh FOLDER [SINCE]
set -eu

find "$1" -xdev -newermt "@${2:-$SOURCE_DATE_EPOCH}" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +
