"""Runs of two agents beside each other in one panel."""

import workbench as wb

TINY = wb.preset("tiny").replace(device="cpu")
DQN = TINY.replace(agent={"name": "dqn", "width": 16, "num_frames": 2})


def test_iqn_and_dqn_stand_in_one_panel_with_names_and_a_loss_that_tell_them_apart(tmp_path):
    pair = [wb.launch(config, lag=1, out=tmp_path, start=False) for config in (TINY, DQN)]
    panel = wb.Panel(pair)
    try:
        drawing = panel.widget.drawing
        assert [run["name"] for run in drawing["runs"]] == ["iqn", "dqn"]
        assert drawing["charts"][0]["unit"] == "quantile Huber loss or Huber loss"
        assert [line["run"] for line in drawing["lines"] if line["chart"] == 0] == [0, 1]
    finally:
        panel.close()
        for run in pair:
            run.stop()
