from models.best_arm import BestArm


def example(world, seed):
    return BestArm.learn(list(world.messages.names()), world.messages.responses)
