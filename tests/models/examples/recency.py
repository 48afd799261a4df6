from models.recency import Recency


def example(world, seed):
    return Recency.learn(world.contacts, world.left, seed)
