"""What an answer may take."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ...config import Count, Part, Positive


class Limits(Part):
    """Of one run of one answer. The kernel holds all but the time and the output, at which it is ended from outside."""

    cpu: Count = Field(default=6, description="processor seconds")
    seconds: Positive = Field(default=30.0, description="of time, however busy the machine is")
    memory: Annotated[int, Field(ge=64 << 20)] = Field(default=1 << 30, description="bytes of address space")
    disk: Annotated[int, Field(ge=1 << 16)] = Field(default=16 << 20, description="bytes in its scratch folder")
    output: Count = Field(default=1 << 20, description="bytes that it may print")
    threads: Count = Field(default=64, description="of its one process")
