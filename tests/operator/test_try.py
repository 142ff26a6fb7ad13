from openeni_testing.operatorworld import OperatorWorld
def test_a():
    w = OperatorWorld(nodes=2)
    w.add_pool()
    w.settle()
    print(w.ready(), w.cloud.calls, w.store.writes)
    print(w.pool().status)
    print(w.enis()[0].status)
    n=len(w.store.writes)
    w.settle()
    assert w.store.writes[n:]==[]
    assert 0
