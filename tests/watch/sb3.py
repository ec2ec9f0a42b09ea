"""stable-baselines3's DQN on two cart poles. Lines that end in ``# +`` were added to watch it."""

from stable_baselines3 import DQN
from stable_baselines3.common.env_util import make_vec_env

import workbench as wb  # +


class Watched(DQN):
    def train(self, gradient_steps, batch_size=100):
        net, target, optimizer = self.q_net, self.q_net_target, self.policy.optimizer  # +
        with wb.watching().update(
            0, online=net, target=target, optimizer=optimizer, count=gradient_steps
        ) as update:  # +
            super().train(gradient_steps, batch_size)
            update.log(loss=self.logger.name_to_value["train/loss"])  # +

    def _sample_action(self, *arguments, **options):
        with wb.watching().act(0, model=self.q_net, env=None) as act:  # +
            act.action, stored = super()._sample_action(*arguments, **options)
        return act.action, stored


def main(name, out, seed=0):
    worlds = make_vec_env("CartPole-v1", 2, seed=seed)
    model = Watched(
        "MlpPolicy", worlds, seed=seed, device="cpu", learning_starts=100, buffer_size=400, target_update_interval=200,
        train_freq=4, gradient_steps=2, batch_size=32, policy_kwargs={"net_arch": [32]},
    )  # fmt: skip
    with wb.Watch(name, agents=1, gamma=0.99, n_step=1, tau=1.0, capacity=400, out=out) as watch:  # +
        model.replay_buffer = watch.buffer(0, model.replay_buffer)  # +
        model.learn(1_200)
        watch.result([model.q_net])  # +
    return model
