"""The orders as a Flask service: what the host's order service is compared with.

POST /order                 {"user_id", "product_id", "quantity"}, one transaction each
GET  /order?user_id=        {"orders": [...]}
"""

import os

from flask import Flask, jsonify, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.exc import OperationalError

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE"]
# SQLite's own settings otherwise; a writer waits for the other worker's rather than fail.
app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"connect_args": {"timeout": 30}}
db = SQLAlchemy(app)


class Order(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    user_id = db.Column(db.String(64), nullable=False, index=True)
    product_id = db.Column(db.String(64), nullable=False)
    quantity = db.Column(db.Integer, nullable=False)


with app.app_context():
    try:
        db.create_all()
    except OperationalError:
        # The other worker made the table between the look for it and now; ending here would end
        # both.
        db.create_all()


@app.get("/health")
def health():
    return jsonify(status="ok")


@app.post("/order")
def place():
    body = request.get_json()
    order = Order(user_id=str(body["user_id"]), product_id=str(body["product_id"]),
                  quantity=body["quantity"])
    db.session.add(order)
    db.session.commit()
    return jsonify(message="success", order_id=order.id)


@app.get("/order")
def show():
    orders = Order.query.filter_by(user_id=request.args["user_id"]).order_by(Order.id.desc()).limit(50)
    return jsonify(orders=[
        {"id": order.id, "user_id": order.user_id, "product_id": order.product_id,
         "quantity": order.quantity} for order in orders])
