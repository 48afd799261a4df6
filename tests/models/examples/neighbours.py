from models.neighbours import Neighbours


def example(world, seed):
    return Neighbours.learn(world.purchases, seed=seed)
