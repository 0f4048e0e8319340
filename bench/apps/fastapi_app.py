"""A small FastAPI service: a path parameter, a query parameter and a validated pydantic response."""

from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()


class Line(BaseModel):
    title: str
    price: float
    quantity: int


class Order(BaseModel):
    number: int
    customer: str
    lines: list[Line]


@app.get("/orders/{number}")
async def order(number: int, customer: str = "nobody") -> Order:
    lines = [Line(title=f"item {index}", price=index * 1.5, quantity=index) for index in range(5)]
    return Order(number=number, customer=customer, lines=lines)
