from models.following import Following


def example(world, seed):
    return Following.learn(world.purchases, seed=seed)
