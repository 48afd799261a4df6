from models._channel_trees import ChannelConfig
from models.channel import Channel


def example(world, seed):
    return Channel.learn(world.messages, ChannelConfig(rounds=20), seed)
