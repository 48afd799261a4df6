from models.churn import Churn, ChurnConfig, ChurnHistory


def example(world, seed):
    early, late = slice(0, 400), slice(400, 800)
    contacts, left = world.contacts, world.left
    history = ChurnHistory(contacts[early], left[early], contacts[late], left[late], contacts[early])
    return Churn.learn(history, ChurnConfig(rounds=20, least_rows=100), seed)
