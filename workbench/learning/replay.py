from workbench.exchange.replay import Batch, Replay
