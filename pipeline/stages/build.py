"""Makes a stage by its name: the one place that knows all of them."""

from __future__ import annotations

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.errors import UsageError
from mattemill.pipeline.models.load import model_hashes as model_hashes
from mattemill.pipeline.stages.stage import Stage

STAGE_NAMES = ("fetch", "detect", "segment", "matte", "cut", "store")


def build_stage(name: str, config: JobConfig, sink: str | None = None) -> Stage:
    """A stage, its networks loaded; built once a worker.

    sink: where `store` writes; the others need none. Raises UsageError for an unknown name or a store without a sink,
    and what the stage raises: ModelError, DeviceError, EngineError, ConfigError, SinkError.
    """
    # Imported as they are asked for: a fetch worker needs no network, a detect worker no S3 client.
    match name:
        case "fetch":
            from mattemill.pipeline.stages.fetch import FetchStage

            return FetchStage(config)
        case "detect":
            from mattemill.pipeline.stages.detect import DetectStage

            return DetectStage(config)
        case "segment":
            from mattemill.pipeline.stages.segment import SegmentStage

            return SegmentStage(config)
        case "matte":
            from mattemill.pipeline.stages.matte import MatteStage

            return MatteStage(config)
        case "cut" if config.device_chain == "on":
            from mattemill.pipeline.device_chain.open_chain import open_chain
            from mattemill.pipeline.engines.place import place_of

            return open_chain(config, place_of(config))
        case "cut":
            from mattemill.pipeline.stages.cut import CutStage

            return CutStage(config)
        case "store":
            from mattemill.pipeline.stages.store_stage import StoreStage

            if sink is None:
                raise UsageError("the store stage needs a sink to write to")
            return StoreStage(config, sink)
    raise UsageError(f"stage {name!r} is not known; known are {', '.join(STAGE_NAMES)}")
